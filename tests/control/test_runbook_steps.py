"""A runbook's steps are read as they are written, and what nobody could follow is refused."""

from __future__ import annotations

import pytest

from bellrelay.control.runbook_steps import (
    ByHand,
    Command,
    RunbookError,
    commands_of,
    steps_of,
)

PAGE = """# a-fault

## See it

```console
$ bellrelay endpoint --config $ALICE_YAML --faults     # ends with 0 or 8
no fault
```

## Steps

1. Is it there? See **By hand.** below.

   ```console
   $ bellrelay endpoint --config $ALICE_YAML \\
       --move-to $NEXT --why "it's (mostly) down; see $RELAY"
   $ systemctl status bellrelay-relay@$RELAY     # ends with 0, 3 or 4
   ```
2. **By hand.** Splice it,
   wherever it is.
3. And then:

   ```console
   $ systemctl restart bellrelay-endpoint@${PARTY}
   ```
4. **By hand.** Lock the door.

## If that was not it

1. **By hand.** Call somebody.

   ```console
   $ bellrelay board probe
   ```
"""
NAMES = {"ALICE_YAML": "/a b/alice.yaml", "NEXT": "diana", "RELAY": "charles", "PARTY": "bob"}


def test_steps_are_those_of_one_section_in_their_order() -> None:
    move, status, splice, restart, lock = steps_of(PAGE)
    assert isinstance(move, Command)
    assert isinstance(status, Command)
    assert isinstance(restart, Command)
    assert (splice, lock) == (ByHand("Splice it, wherever it is."), ByHand("Lock the door."))
    assert move.codes == {0}
    assert status.codes == {0, 3, 4}
    assert move.names == {"ALICE_YAML", "NEXT", "RELAY"}
    assert restart.names == {"PARTY"}
    assert move.bound(NAMES) == [
        "bellrelay", "endpoint", "--config", "/a b/alice.yaml", "--move-to", "diana",
        "--why", "it's (mostly) down; see charles",
    ]  # fmt: skip
    assert restart.bound(NAMES) == ["systemctl", "restart", "bellrelay-endpoint@bob"]


def test_commands_are_those_of_all_sections() -> None:
    found = [command.words[:2] for command in commands_of(PAGE)]
    assert found == [
        ("bellrelay", "endpoint"), ("bellrelay", "endpoint"), ("systemctl", "status"),
        ("systemctl", "restart"), ("bellrelay", "board"),
    ]  # fmt: skip
    assert commands_of(PAGE)[0].codes == {0, 8}


def test_a_name_that_there_is_not() -> None:
    (*_, restart) = (step for step in steps_of(PAGE) if isinstance(step, Command))
    with pytest.raises(RunbookError, match="no name PARTY"):
        restart.bound({"RELAY": "charles"})


def with_line(line: str) -> str:
    return f"## Steps\n\n```console\n{line}\n```\n"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (with_line("$ bellrelay board probe | tail"), r"\| is a shell's"),
        (with_line("$ bellrelay board probe && true"), "& is a shell's"),
        (with_line("$ bellrelay tags info *.npz"), "is a shell's"),
        (with_line("$ bellrelay endpoint --config <FILE>"), "is a shell's"),
        (with_line('$ bellrelay endpoint --why "half'), "No closing quotation"),
        (with_line("$ # look"), "no command"),
        (with_line("$ bellrelay board \\"), "does not end"),
        (with_line("bellrelay board probe"), "begins with"),
        ("## Steps\n\n```sh\nbellrelay board probe\n```\n", "a block `console`"),
        ("## Steps\n\n```console\n$ bellrelay board probe\n", "a block does not end"),
        ("## Otherwise\n\n```console\n$ bellrelay board probe\n```\n", "no step"),
        ("## Steps\n\n1. **By hand.** Pray.\n", "no step"),
    ],
)
def test_a_page_that_nobody_can_follow(page: str, said: str) -> None:
    with pytest.raises(RunbookError, match=said):
        steps_of(page)
