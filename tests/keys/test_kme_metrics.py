"""What /metrics says of a KME, against what its /health said."""

import json
from pathlib import Path

from bellrelay.keys.kme_metrics import kme_metrics

RECORDED = Path(__file__).resolve().parents[1] / "data" / "health" / "healthy-kme-alice.json"


def test_what_is_left_is_what_this_kme_gives_out():
    status = json.loads(RECORDED.read_text())
    sides = status["pairs"]["apps"]
    assert sides["kme-bob"]["free"] > 0
    values = {
        (sample.name, sample.labels.get("pair")): sample.value
        for metric in kme_metrics(status)
        for sample in metric.samples
        if sample.name == "bellrelay_kme_own_free_bits"
    }
    wanted = sides["kme-alice"]["free"] * status["unit_bits"]
    assert values == {("bellrelay_kme_own_free_bits", "apps"): wanted}
