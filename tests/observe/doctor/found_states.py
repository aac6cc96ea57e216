"""How findings turned out, in short; and what a folder holds, to see that nothing was changed."""

import hashlib

from bellrelay.settings.model import FileModel


def states(findings):
    """Of each, in order."""
    return [str(finding.state) for finding in findings]


def only(findings, words):
    """The one finding whose detail has these words."""
    (found,) = [finding for finding in findings if words in finding.detail]
    return found


def contents(folder):
    """Every file: name, mode, owner, time of change, and what it holds.

    Directories without a time, as a file is made and removed there. Of SQLite's shared memory what
    it holds is who reads, and since when.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.stat()
        held = ()
        if path.is_file() and path.suffix != ".sqlite-shm":
            held = (about.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        found[str(path.relative_to(folder))] = (about.st_mode, about.st_uid, *held)
    return found


class AnyFile(FileModel):
    """A configuration that a test's finding names."""
