"""What `bellrelay plan` prints: every option with its pairs, relays, cost and work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bellrelay.control.network_file import NetworkFile
from bellrelay.control.network_links import Hop
from bellrelay.control.network_plan import OptionPlan
from bellrelay.control.network_schedule import PairService

__all__ = ["plan_report"]


def plan_report(file: NetworkFile, plans: Iterable[OptionPlan], optimised: bool) -> dict[str, Any]:
    """The object that `plan NETWORK.yaml --json` prints; every figure is of a model."""
    finite = file.finite
    return {
        "simulation": True,
        "pulses": round(finite.pulses),
        "epsilon": {
            "secrecy": finite.epsilon_secrecy,
            "correctness": finite.epsilon_correctness,
        },
        "optimised": optimised,
        "currency": file.costs.currency,
        "years": file.costs.years,
        "options": [_option(plan) for plan in plans],
    }


def _option(plan: OptionPlan) -> dict[str, Any]:
    bill = plan.bill
    return {
        "name": plan.name,
        "worst_satisfied": plan.schedule.worst,
        "worst_satisfied_after_loss": plan.worst_after_loss,
        "bits_per_s": plan.schedule.total_bits_per_s,
        "pairs": [
            {
                **_service(service),
                "after_loss": {
                    relay: left.pairs[i].bits_per_s for relay, left in plan.after_loss.items()
                },
            }
            for i, service in enumerate(plan.schedule.pairs)
        ],
        "relays": {relay.name: _relay(plan, relay.name) for relay in plan.network.relays},
        "links": [_link(hop) for hop in plan.hops],
        "cost": {
            "price": bill.price,
            "running_per_year": bill.running_per_year,
            "per_year": bill.per_year,
        },
        "hours_per_month": bill.hours_per_month,
        "items": [
            {
                "what": i.what,
                "number": i.number,
                "price": i.price,
                "per_year": i.per_year,
                "hours_per_month": i.hours_per_month,
            }
            for i in bill.items
        ],
    }


def _service(service: PairService) -> dict[str, Any]:
    return {
        "a": service.pair.a,
        "b": service.pair.b,
        "demand": service.pair.demand,
        "bits_per_s": service.bits_per_s,
        "satisfied": service.satisfied,
        "routes": [
            {
                "relays": [hop.relay for hop in route.hops],
                "trusted": list(route.trusted),
                "bits_per_s": bits_per_s,
            }
            for route, bits_per_s in service.routes
        ],
    }


def _relay(plan: OptionPlan, name: str) -> dict[str, Any]:
    shares = [{"a": hop.a, "b": hop.b, "share": share} for hop, share in plan.schedule.shares[name]]
    busy, settling = plan.schedule.busy(name), plan.schedule.settling[name]
    return {
        "shares": shares,
        "busy": busy,
        "settling": settling,
        "idle": max(0.0, 1.0 - busy - settling),
    }


def _link(hop: Hop) -> dict[str, Any]:
    return {
        "a": hop.a,
        "b": hop.b,
        "relay": hop.relay,
        "loss_db": hop.loss_db,
        "bits_per_s": hop.bits_per_s,
        "block_s": hop.block_s,
        "aborted": hop.cause,
    }
