"""Whether a configuration fits the board that is there, without touching either."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import Any

from bellrelay.wire.access import ForeignBoard, NoAnswer, RegisterClient, identify
from bellrelay.wire.decoder import DecoderCounts, Frame, FrameDecoder
from bellrelay.wire.frames import FrameType
from bellrelay.wire.payloads import PayloadError, Response
from bellrelay.wire.registers import State

from .config import RelayConfig
from .link import SerialLink
from .register_values import register_values

__all__ = ["LinkAnswers", "check_board"]


class LinkAnswers:
    """The answers on a link, as register access takes them.

    All else goes to `other` and `after_reading`, for whoever wants more; they run in the reader's
    thread, from the constructor on.
    """

    def __init__(self, link: SerialLink) -> None:
        self._link = link
        self._answers: queue.SimpleQueue[Response] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Send bytes; OSError if the link is gone."""
        self._link.write(data)

    def response(self, timeout_s: float) -> Response | None:
        """The next RESPONSE that has come or comes within the time, else None."""
        try:
            return self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """End the reader; the link stays open."""
        self._closing.set()
        self._thread.join()

    def other(self, frame: Frame) -> None:
        """A frame that is no RESPONSE: passed over. PayloadError passes it over, too."""

    def after_reading(self, counts: DecoderCounts) -> None:
        """What the decoder has counted up to here: not looked at."""

    def _run(self) -> None:
        decoder = FrameDecoder()
        while not self._closing.is_set():
            for frame in decoder.feed(self._link.read(0.05)[0]):
                with suppress(PayloadError):
                    if frame.type == FrameType.RESPONSE:
                        self._answers.put(Response.parse(frame.payload))
                    else:
                        self.other(frame)
            self.after_reading(decoder.counts)


def check_board(config: RelayConfig) -> dict[str, Any]:
    """Ask the board who it is, and work out its registers; nothing is written to it.

    Raises
    ------
    PortMissing, PortBusy, ForeignBoard, BoardVersionMismatch, AccessError, ConfigError
        As the daemon would.
    """
    link = SerialLink(config.port, config.baud)
    answers = LinkAnswers(link)
    try:
        identity = identify(answers, timeout_s=0.5, attempts=4)
        register_values(config, identity.geometry)
        client = RegisterClient(answers, identity.geometry)
        return {
            "board": identity.geometry.board,
            "gateware": identity.version_text,
            "detectors": identity.geometry.n_detectors,
            "clock_period_ps": identity.geometry.clock_period_ps,
            "config_hash": f"{identity.config_hash:08x}",
            "state": State(client.read("state")[0]).name.lower(),
        }
    except NoAnswer as error:
        raise ForeignBoard(f"{config.port}: no relay answers") from error
    finally:
        answers.close()
        link.close()
