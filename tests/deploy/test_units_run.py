"""The units under a real systemd: started, notified, killed, watched, given their credentials."""

import sys
from pathlib import Path

import pytest
import yaml
from real_systemd import ROOT, RealSystemd, why_not

from bellrelay.cli.run_endpoints import prepare_endpoints
from bellrelay.cli.run_system import relay_yaml
from bellrelay_sim.link import SimulatedLink

pytestmark = pytest.mark.needs_server


@pytest.fixture(scope="module", autouse=True)
def systemd():
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def machine(tmp_path):
    return RealSystemd(tmp_path)


SHOW = """
show() { systemctl show "$1" -p "$2" --value; }
until_active() { for i in $(seq 600); do [ "$(show "$1" ActiveState)" = active ] && return 0
  sleep 0.1; done; systemctl status "$1" --no-pager -l || true; return 1; }
"""


def relay(machine, folder_changes=None):
    """The relay's unit and files, on a twin that another unit runs."""
    link = SimulatedLink()
    values = relay_yaml(link, machine.folder, 9410)
    values["port"] = "/run/twin/port"
    values["log"]["directory"] = "/var/lib/bellrelay/charlie"
    values["fan_out"] = {"unix_socket": "/run/bellrelay/charlie/announcements"}
    values.update(folder_changes or {})
    machine.etc("charlie.yaml", yaml.safe_dump(values), 0o644)
    machine.etc("charlie.key", b"a private key")
    (machine.folder / "units" / "twin.service").write_text(
        "[Unit]\nDefaultDependencies=no\n[Service]\nRuntimeDirectory=twin\n"
        f"ExecStart={sys.executable} -m bellrelay_sim.twin --port-link /run/twin/port "
        "--seconds 3600 --realtime\n"
        # A pseudo-terminal in a board's place: neither of the class nor of the group of one.
        "ExecStartPost=sh -c 'until [ -e /run/twin/port ]; do sleep 0.1; done; "
        "chmod 666 $(readlink -f /run/twin/port)'\n"
    )
    return machine.unit("bellrelay-relay", "charlie", ["DeviceAllow=char-pts rw"], "twin.service")


def test_a_relay_is_started_notified_restarted_and_keeps_its_log(machine):
    unit = relay(machine)
    done = machine.run(
        ["twin.service", unit],
        SHOW
        + f"""
until_active {unit}
# READY=1 came, the status line with it, and the user is one that exists for this unit alone.
show {unit} StatusText
show {unit} NRestarts
pid=$(show {unit} MainPID)
echo "user $(stat -c %U /proc/$pid)"
echo "state $(stat -c %a /var/lib/private/bellrelay/charlie)"
nsenter -t $pid -m cat /run/credentials/{unit}/key > /dev/null && echo "credential there"
grep -q Seccomp:.2 /proc/$pid/status && echo filtered
before=$(ls /var/lib/private/bellrelay/charlie/*.brlog)
# Killed: systemd starts it again.
kill -9 "$pid"
for i in $(seq 100); do [ "$(show {unit} NRestarts)" -ge 1 ] && break; sleep 0.1; done
until_active {unit}
[ "$(show {unit} MainPID)" != "$pid" ]
for f in $before; do [ -s "$f" ]; done
echo "restarted"
# Stopped: it ends cleanly, within its time.
systemctl stop {unit}
echo "result $(show {unit} Result)"
""",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("running, acquisition 1")
    assert lines[1] == "0"
    for said in (
        "user bellrelay-charlie",
        "state 700",
        "credential there",
        "filtered",
        "restarted",
        "result success",
    ):
        assert said in lines, done.stderr


@pytest.mark.soak
def test_a_relay_that_hangs_is_killed_by_the_watchdog(machine):
    unit = relay(machine)
    done = machine.run(
        ["twin.service", unit],
        SHOW
        + f"""
mkdir -p /run/systemd/system/{unit}.d
printf '[Service]\\nWatchdogSec=3\\nWatchdogSignal=SIGKILL\\n' > /run/systemd/system/{unit}.d/w.conf
systemctl daemon-reload
systemctl restart {unit}
until_active {unit}
pid=$(show {unit} MainPID)
sleep 5
# While it does its rounds, the watchdog is content.
[ "$(show {unit} MainPID)" = "$pid" ]
kill -STOP "$pid"
for i in $(seq 150); do [ "$(show {unit} NRestarts)" -ge 1 ] && break; sleep 0.1; done
until_active {unit}
[ "$(show {unit} MainPID)" != "$pid" ]
echo "restarted"
""",
    )
    assert done.returncode == 0, done.stderr
    assert "restarted" in done.stdout


def test_what_needs_a_person_is_left_alone(machine):
    unit = relay(machine, {"encoding": "smoke signals"})
    done = machine.run(
        ["twin.service", unit],
        SHOW
        + f"""
for i in $(seq 150); do [ "$(show {unit} ActiveState)" = failed ] && break; sleep 0.1; done
echo "state $(show {unit} ActiveState) code $(show {unit} ExecMainStatus)"
sleep 3
echo "restarts $(show {unit} NRestarts)"
""",
    )
    assert done.returncode == 0, done.stderr
    assert "state failed code 3" in done.stdout
    assert "restarts 0" in done.stdout


def test_an_encrypted_credential_is_read(machine):
    """A key that lies encrypted on disk, and in clear in the service's own memory alone."""
    unit = relay(machine)
    done = machine.run(
        ["twin.service"],
        SHOW
        + f"""
systemd-creds setup >/dev/null 2>&1 || true
printf 'a private key' | systemd-creds encrypt --with-key=host --name=key - /etc/bellrelay/c.cred
! grep -q 'a private key' /etc/bellrelay/c.cred
rm /etc/bellrelay/charlie.key
mkdir -p /run/systemd/system/{unit}.d
printf '[Service]\\nLoadCredential=\\nLoadCredentialEncrypted=key:/etc/bellrelay/c.cred\\n' \\
  > /run/systemd/system/{unit}.d/c.conf
systemctl daemon-reload
systemctl start {unit}
until_active {unit}
pid=$(show {unit} MainPID)
echo "credential $(nsenter -t $pid -m cat /run/credentials/{unit}/key)"
""",
    )
    assert done.returncode == 0, done.stderr
    assert "credential a private key" in done.stdout


@pytest.mark.soak
def test_two_endpoints_meet_under_their_units(machine):
    link = SimulatedLink()
    relay_unit = relay(machine, {"fan_out": {"listen": "127.0.0.1:7410", "plain": True}})
    (machine.folder / "link.yaml").write_text("{}\n")
    prepare_endpoints(machine.folder, link, machine.folder / "link.yaml", None, 10**9, 7420, 0.01)
    units = []
    for role in ("alice", "bob"):
        text = (machine.folder / f"{role}.yaml").read_text()
        values = yaml.safe_load(text.replace(str(machine.folder), f"/var/lib/bellrelay/{role}"))
        values["relay"] = {"id": "charles", "connect": "127.0.0.1:7410", "plain": True}
        values["source"] = {"plugin": "simulation", "link": {}}
        values["health"] = {"listen": f"127.0.0.1:{9420 + (role == 'bob')}"}
        machine.etc(f"{role}.yaml", yaml.safe_dump(values), 0o644)
        machine.etc(f"{role}.key", b"unused")
        units.append(machine.unit("bellrelay-endpoint", role, after=relay_unit))
        (machine.folder / "units" / f"{units[-1]}.d" / "files.conf").write_text(
            "[Service]\n"
            # What an operator lays there once; as root, before the service has its user.
            f"ExecStartPre=+/run/test/{role}.sh\n"
        )
        script = machine.folder / f"{role}.sh"
        script.write_text(
            "#!/bin/sh\nset -e\n"
            f"d=/var/lib/private/bellrelay/{role}\n"
            f'[ -e "$d/{role}.pool" ] || cp -r /run/test/*.crt /run/test/*.key /run/test/*.pem '
            f'/run/test/{role}.pool "$d/" 2>/dev/null || true\n'
            f'chown -R --reference="$d" "$d"\n'
        )
        script.chmod(0o755)
    done = machine.run(
        ["twin.service", relay_unit, *units],
        SHOW
        + f"""
until_active {relay_unit}
until_active {units[0]}
until_active {units[1]}
for i in $(seq 200); do
  {sys.executable} - <<'P' && break
import json, urllib.error, urllib.request
for port in (9420, 9421):
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{{port}}/health")
    except urllib.error.HTTPError as error:
        answer = error
    status = json.load(answer)
    print(port, status["state"], status["peer"], status["relay"])
    assert status["state"] == "running"
P
  sleep 0.2
done
""",
        180,
    )
    assert done.returncode == 0, done.stderr
    assert "9421 running" in done.stdout, done.stderr


def test_a_timer_has_the_reports_of_week_and_month_written(machine):
    """Without data there is none: it fails, for all to see; as soon as there is, it is written."""
    machine.etc("slo.yaml", (ROOT / "deploy" / "slo.yaml").read_bytes(), 0o644)
    status = {"prometheus": {"url": "http://127.0.0.1:9090"}, "slo": "/etc/bellrelay/slo.yaml"}
    machine.etc("charlie-status.yaml", yaml.safe_dump(status), 0o644)
    (machine.folder / "prometheus.py").write_text(
        (Path(__file__).parent / "answers_as_prometheus.py").read_text()
    )
    (machine.folder / "units" / "prometheus.service").write_text(
        "[Unit]\nDefaultDependencies=no\n[Service]\n"
        f"ExecStart={sys.executable} /run/test/prometheus.py 9090\n"
    )
    service = machine.unit("bellrelay-report", "charlie")
    timer = machine.timer("bellrelay-report", "charlie", "OnCalendar=*-*-* *:*:0/3")
    done = machine.run(
        [timer],
        SHOW
        + f"""
echo "timer $(show {timer} ActiveState)"
# Nobody asked for the service but the timer; there is no Prometheus yet.
for i in $(seq 600); do [ "$(show {service} Result)" = exit-code ] && break; sleep 0.1; done
echo "first $(show {service} Result)"
reports=/var/lib/private/bellrelay/charlie/reports
ls $reports/*.html 2>/dev/null && exit 1
systemctl start prometheus.service
for i in $(seq 900); do ls $reports/month-*.html >/dev/null 2>&1 && break; sleep 0.1; done
systemctl stop {timer}
until [ "$(show {service} ActiveState)" != activating ]; do sleep 0.1; done
echo "then $(show {service} Result)"
for f in $reports/*.html; do
  echo "$(basename $f) $(stat -c %a $f) $(grep -cE '<svg|<img' $f)"
done
""",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["timer active", "first exit-code", "then success"], done.stderr
    written = [line.split() for line in lines[3:]]
    assert [name.split("-")[0] for name, *_ in written] == ["month", "week"]
    assert {mode for _, mode, _ in written} == {"600"}
    assert all(int(pictures) for *_, pictures in written)


def test_the_rule_of_udev_is_understood(machine, requires_program):
    requires_program("udevadm", "apt-get install udev")
    rules = ROOT / "deploy" / "udev" / "70-bellrelay.rules"
    (machine.folder / "70-bellrelay.rules").write_text(rules.read_text())
    wrong = rules.read_text().replace("ATTRS{product}", "ATRS{product}", 1)
    (machine.folder / "71-wrong.rules").write_text(wrong)
    done = machine.run(
        [],
        """
mkdir -p /run/udev/rules.d
cp /run/test/70-bellrelay.rules /run/udev/rules.d/
echo "--- right"; udevadm test /devices/virtual/tty/tty0 2>&1 | grep 70-bellrelay || true
rm /run/udev/rules.d/*; cp /run/test/71-wrong.rules /run/udev/rules.d/
echo "--- wrong"; udevadm test /devices/virtual/tty/tty0 2>&1 | grep 71-wrong || true
""",
    )
    assert done.returncode == 0, done.stderr
    right, wrong_said = done.stdout.split("--- wrong")
    complaints = [line for line in right.splitlines() if "nvalid" in line or "nknown" in line]
    assert complaints == []
    assert "nvalid key 'ATRS'" in wrong_said, done.stderr
