"""A picture that cannot be written is told before the work of which it would be the result."""

from pathlib import Path

import pytest

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("keyrate", "link.yaml", "--scan", "loss"),
        ("plan", "network.yaml"),
        ("tags", "histogram", "night.ptu", "--config", "relay.yaml", "--bin-ps", "50"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("where", ["absent/x.png", "."])
def test_every_plot_is_looked_at_first(
    words: tuple[str, ...],
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # None of the files is there: it is the picture that is told, not they.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*words, "--plot", where])
    assert ended.value.code == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "--plot" in told
    assert "cannot be written" in told
