"""Every call of `bellrelay` that a page shows is one that the command line takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented_commands import calls_of, calls_told_of, complaint, shell_lines

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


def calls(page: Path) -> list[list[str]]:
    return [call for line in shell_lines(page.read_text()) for call in calls_of(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_call_is_one_that_there_is(page: Path) -> None:
    wrong = [f"bellrelay {' '.join(call)}: {c}" for call in calls(page) if (c := complaint(call))]
    assert wrong == []


# Prose may leave out what a call takes.
SHORT = ("missing: ", "no command of the group", "requires an argument")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_call_that_prose_names_is_one_that_there_is(page: Path) -> None:
    wrong = [
        f"bellrelay {' '.join(call)}: {said}"
        for call in calls_told_of(page.read_text())
        if (said := complaint(call)) is not None and not any(short in said for short in SHORT)
    ]
    assert wrong == []


def test_calls_are_found() -> None:
    assert sum(len(calls(page)) for page in PAGES) > 300
    assert sum(len(calls_told_of(page.read_text())) for page in PAGES) > 100
    text = """
```sh
/opt/b/bin/bellrelay relay --config "a b.yaml" > /dev/null && bellrelay tags \\
    info x.npz | head   # bellrelay no
kubectl exec e -- bellrelay keys list --config k; systemctl start bellrelay-kme@a
ln -s /opt/b/bin/bellrelay /usr/bin/bellrelay
```
- in a list:
  ```console
  $ bellrelay plan n.yaml 2>&1
  bellrelay says this itself
  ```
```yaml
contain: [bellrelay, keys]
```
"""
    assert [call for line in shell_lines(text) for call in calls_of(line)] == [
        ["relay", "--config", "a b.yaml"],
        ["tags", "info", "x.npz"],
        ["keys", "list", "--config", "k"],
        ["plan", "n.yaml"],
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("bellrelay keys suspend --config kme.yaml --relay charlie-1", None),
        ("bellrelay gameday --help", None),
        ("bellrelay keys suspend --relay charlie-1", "missing"),
        ("bellrelay keys suspend --config kme.yaml --relais charlie-1", "relais"),
        ("bellrelay keys suspendd --config kme.yaml", "no command"),
        ("bellrelay watch", "no such verb"),
        ("bellrelay plan", "missing"),
        ("bellrelay relay --config relay.yaml more", "left over"),
    ],
)
def test_the_check_can_fail(line: str, wrong: str | None) -> None:
    (call,) = calls_of(line)
    said = complaint(call)
    assert said is None if wrong is None else wrong in str(said), said
