"""A real systemd as process 1 of namespaces of its own, and units of ours started by it.

Nothing of the machine is touched: /run, /tmp, /var/tmp and systemd's own state are private and
empty, /etc and /var/lib lie under an overlay whose changes go away with it. Needs root, and a
kernel that gives namespaces.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
NAMESPACES = ["unshare", "-m", "-p", "-f", "-C", "-i", "-u", "-n", "--kill-child"]
PRIVATE = ("/tmp", "/var/tmp", "/var/lib/systemd")
MASKED = ("network-online", "network", "time-sync", "sysinit", "basic")


def why_not():
    """Why no systemd can be started here; None: it can."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    if not Path("/lib/systemd/systemd").exists():
        return "no systemd: apt-get install systemd"
    probe = "mount --make-rprivate / && mount -t tmpfs tmpfs /run"
    command = [*NAMESPACES, "--mount-proc", "sh", "-c", probe]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no namespaces: {done.stderr.strip()}"


class RealSystemd:
    """Units of ours with their files, run together.

    Parameters
    ----------
    folder
        Of the test; is seen in there as /run/test, and nothing else of /tmp is.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "etc").mkdir()
        (folder / "units").mkdir()

    def unit(self, template: str, instance: str, changes=(), after=""):
        """Install an instance of a unit of deploy/systemd; `changes`: lines of a drop-in."""
        text = (UNITS / f"{template}@.service").read_text()
        program = f"{sys.executable} -m bellrelay"
        text = text.replace("/usr/bin/bellrelay ", f"{program} ")
        (self.folder / "units" / f"{template}@.service").write_text(text)
        lines = ["[Unit]", "DefaultDependencies=no", f"After={after}", "[Service]", *changes]
        drop_in = self.folder / "units" / f"{template}@{instance}.service.d"
        drop_in.mkdir()
        # The virtual environment may lie where the unit sees no homes.
        lines += ["ProtectHome=read-only", f"StandardError=append:/run/test/{instance}.log"]
        (drop_in / "test.conf").write_text("\n".join(lines) + "\n")
        return f"{template}@{instance}.service"

    def timer(self, template: str, instance: str, calendar: str):
        """Install the timer of an instance that :meth:`unit` has installed; `calendar`: its own."""
        name = f"{template}@{instance}.timer"
        shutil.copy(UNITS / f"{template}@.timer", self.folder / "units")
        drop_in = self.folder / "units" / f"{name}.d"
        drop_in.mkdir()
        lines = ["[Unit]", "DefaultDependencies=no", "[Timer]", "OnCalendar=", calendar]
        lines += ["RandomizedDelaySec=0", "AccuracySec=100ms"]
        (drop_in / "test.conf").write_text("\n".join(lines) + "\n")
        return name

    def etc(self, name: str, content, mode=0o600):
        """A file of /etc/bellrelay."""
        path = self.folder / "etc" / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    @staticmethod
    def _opened():
        """An interpreter in a home that a service's own user cannot enter: in there it can."""
        needed = {Path(sys.executable).resolve(), Path(sys.prefix), ROOT}
        closed = {
            place
            for path in needed
            for place in path.parents
            if place != Path("/") and not place.stat().st_mode & 0o001
        }
        for n, place in enumerate(sorted(closed)):
            layers = f"/run/layers/h{n}"
            yield (
                f"mkdir -p {layers}w && mkdir -m 755 {layers}u && mount -t overlay overlay "
                f"-o lowerdir={place},upperdir={layers}u,workdir={layers}w {place}"
            )

    def run(self, units, script: str, seconds: int = 120):
        """Start systemd with these units wanted; what the script says, once they were asked for.

        Returns
        -------
        subprocess.CompletedProcess, with the script's own code and what it printed.
        """
        script_file = self.folder / "check.sh"
        script_file.write_text("set -eu\n" + script)
        wants = " ".join(units)
        lines = [
            "set -eu",
            "mount --make-rprivate /",
            f"mkdir -p {self.folder}/keep && mount --bind {self.folder} {self.folder}/keep",
            "mount -t tmpfs tmpfs /run && mkdir -p /run/test /run/systemd/system",
            f"mount --move {self.folder}/keep /run/test",
            *(f"mkdir -p {place} && mount -t tmpfs tmpfs {place}" for place in PRIVATE),
            "chmod 1777 /tmp /var/tmp",
            "mkdir -p /run/layers && mount -t tmpfs tmpfs /run/layers",
            *(
                f"mkdir -p /run/layers/{n}u /run/layers/{n}w && mount -t overlay overlay "
                f"-o lowerdir={place},upperdir=/run/layers/{n}u,workdir=/run/layers/{n}w {place}"
                for n, place in (("e", "/etc"), ("v", "/var/cache"))
            ),
            *self._opened(),
            "mkdir -p /var/lib/private && mount -t tmpfs -o mode=0700 tmpfs /var/lib/private",
            "mkdir -p /etc/bellrelay && cp -a /run/test/etc/. /etc/bellrelay/",
            "ip link set lo up",
            "cp -r /run/test/units/. /run/systemd/system/",
            *(f"ln -sf /dev/null /run/systemd/system/{name}.target" for name in MASKED),
            f"printf '[Unit]\\nDefaultDependencies=no\\nAllowIsolate=yes\\nWants={wants}\\n' "
            "> /run/systemd/system/test.target",
            # As on any machine: what is mounted for credentials gets into a service's namespace.
            "mount --make-rshared /",
            "( for i in $(seq 100); do [ -S /run/systemd/private ] && break; sleep 0.1; done",
            "  sleep 0.3; code=0; bash /run/test/check.sh > /run/test/out 2>&1 || code=$?",
            "  echo $code > /run/test/code",
            "  systemctl stop " + wants + " >/dev/null 2>&1 || true",
            "  systemctl exit 0 || kill -s RTMIN+13 1 ) &",
            "exec env container=other /lib/systemd/systemd --system --unit=test.target "
            "--log-target=console --log-level=warning --show-status=no",
        ]
        init = self.folder / "init.sh"
        init.write_text("\n".join(lines) + "\n")
        for name in ("out", "code"):
            (self.folder / name).unlink(missing_ok=True)
        command = [shutil.which("timeout") or "timeout", "-s", "KILL", str(seconds)]
        command += [*NAMESPACES, "--mount-proc", "bash", str(init)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=-3)
        code = self.folder / "code"
        said = (self.folder / "out").read_text() if (self.folder / "out").exists() else ""
        logs = "".join(f"--- {p.name}:\n{p.read_text()[-1500:]}" for p in self.folder.glob("*.log"))
        log = f"{said}\n{logs}\n--- systemd:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        number = int(code.read_text()) if code.exists() else 99
        return subprocess.CompletedProcess(command, number, said, log)
