"""`bellrelay endpoint` in a process of its own, which kills itself at a named moment.

    python endpoint_process.py CONFIG SENT.npz DRAWN MOMENT

SENT : what the sender sent, in the slots that are announced. DRAWN : a file to which every draw
from the key pool is appended, by index, before its key is used. MOMENT : of the pipeline, or "-".

All but the sender is what an operator starts: ports, certificates, stores, pool, relay.
"""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_blocks import ListedSource

from bellrelay.endpoint import daemon
from bellrelay.endpoint.config import load_endpoint_config
from bellrelay.endpoint.key_pool import KeyPool
from bellrelay.endpoint.pipeline import PipelineSettings
from bellrelay.endpoint.source_admission import SourceAdmission
from bellrelay.service.log_format import log_to_stderr


class AdmitListed(SourceAdmission):
    """Slots that are not announced nobody has recorded here: there is nothing to test."""

    def __call__(self, block, source):
        """Admit."""
        return 0.0


def main(config, sent, drawn, moment):
    def kill_at(passed):
        if passed == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def open_source(_acquisition):
        with np.load(sent) as arrays:
            return ListedSource(
                arrays["slots"], arrays["setting"], arrays["bit"], int(arrays["end"])
            )

    draw = KeyPool.draw

    def noted_draw(pool, n_bytes=32):
        index, key = draw(pool, n_bytes)
        descriptor = os.open(drawn, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b"%d %d\n" % (index, n_bytes))
        os.close(descriptor)
        return index, key

    KeyPool.draw = noted_draw
    daemon.load_source = lambda *_of: open_source
    daemon.SourceAdmission = AdmitListed
    daemon.PipelineSettings = partial(PipelineSettings, checkpoint=kill_at)
    log_to_stderr()
    asyncio.run(daemon.run_endpoint(load_endpoint_config(Path(config))))


if __name__ == "__main__":
    main(*sys.argv[1:])
