"""What every action of the key store, the KME and the bridges becomes in ECS."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import bellrelay.cli
import bellrelay.keys
import bellrelay.observe
from bellrelay.keys.audit_ecs import ECS_DETAILS, Origin, ecs_fields
from bellrelay.keys.audit_record import AuditEvent

# Event types that ECS 8.17 expects for the categories that we use.
EXPECTED = {
    "api": {
        *("access", "admin", "allowed", "change", "creation", "deletion", "denied"),
        *("end", "info", "start", "user"),
    },
    "configuration": {"access", "change", "creation", "deletion", "info"},
}
_ACTION = re.compile(r'"([a-z]+(?:-[a-z]+)+)"')


def actions() -> list[str]:
    """Every word that looks like an action where events are made."""
    found = set()
    for package in (bellrelay.keys, bellrelay.cli, bellrelay.observe):
        for path in Path(str(package.__file__)).parent.glob("*.py"):
            text = path.read_text()
            if "AuditEvent(" in text:
                found |= set(_ACTION.findall(text))
    return sorted(found)


def test_there_are_actions() -> None:
    assert {"key-delivered", "keys-suspended", "key-pushed", "incident-archived"} <= set(actions())


@pytest.mark.parametrize("action", actions())
@pytest.mark.parametrize("actor", ["sae:alice", "operator:root", "system", "kme:kme-a"])
def test_category_and_type_go_together(action: str, actor: str) -> None:
    event = AuditEvent(action, actor, "key:1", "failure", {"source.ip": "::1", "size_bits": 1})
    fields = ecs_fields(event, Origin("kme-a"), datetime.now(UTC))
    (category,) = fields["event.category"]
    assert set(fields["event.type"]) <= EXPECTED[category]
    assert fields["event.kind"] == "event"
    assert fields["source.ip"] == "::1"
    assert fields["bellrelay.size_bits"] == 1


def test_no_detail_can_pass_for_the_chains_own() -> None:
    assert not any(name.startswith("bellrelay") for name in ECS_DETAILS)
    with pytest.raises(ValueError, match="audit"):
        AuditEvent("key-delivered", "sae:a", "key:1", details={"audit.prev": "0" * 64})
    with pytest.raises(ValueError, match="object"):
        AuditEvent("key-delivered", "sae:a", "key:1", details={"object": "key:2"})


def test_every_action_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "audit.md").read_text()
    missing = [action for action in actions() if f"`{action}`" not in page]
    # The name of a thread looks like one.
    assert missing == ["audit-checkpoints"]
