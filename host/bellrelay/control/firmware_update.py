"""Another image onto a board, held to its identity and its health, or the one before back again.

Every act on the board is written into the store's journal first, with the image that is being
brought there; both images lie in the store before the first. Whatever stops this process, power
included, leaves an update that is open, and :meth:`FirmwareUpdate.resume` goes on with it: the way
there if it was on its way there, the way back if it was on its way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from bellrelay.wire.access import Identity

from .firmware_health import UNREACHABLE, Check
from .firmware_image import FirmwareImage, ImageUnusable
from .firmware_store import FirmwareStore, Standing, Step

__all__ = ["BoardHands", "FirmwareUpdate", "FlashFailed", "UpdateRefused", "Verdict", "Verdicts"]

_ASKED = "asked for"


class UpdateRefused(Exception):
    """It was not begun, and the board not touched; the message says what to do."""


class FlashFailed(Exception):
    """The programmer did not bring the image onto the board."""


class BoardHands(Protocol):
    """What an update does with the board."""

    def identity(self, wait_s: float, wanted: FirmwareImage | None = None) -> Identity | None:
        """Who is on the board's port, None if nobody answers within the time.

        If an image is wanted, somebody who is not that is asked again until the time is over: a
        board may take a while to load what it was given.

        Raises
        ------
        AccessError, OSError
            Somebody else is there, or the port cannot be used.
        """
        ...

    def flash(self, image: FirmwareImage) -> None:
        """Bring an image onto the board. FlashFailed."""
        ...

    def health(self, image: FirmwareImage) -> list[Check]:
        """Whether the board is fit for service with this image."""
        ...


class Verdicts(StrEnum):
    """How an update ends."""

    INSTALLED = "installed"
    ALREADY = "already installed"
    RETURNED = "returned"
    FAILED = "failed"


@dataclass
class Verdict:
    """What became of an update.

    Attributes
    ----------
    why : what was wrong with the image, empty if nothing
    what_to_do : for a person, empty if nothing
    checks : of the image that is on the board now
    failed_checks : of an image that did not do
    """

    update: int
    verdict: Verdicts
    image: dict[str, Any]
    previous: dict[str, Any] | None
    why: str = ""
    what_to_do: str = ""
    checks: list[Check] = field(default_factory=list)
    failed_checks: list[Check] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "update": self.update,
            "verdict": str(self.verdict),
            "image": self.image,
            "previous": self.previous,
            "why": self.why,
            "what_to_do": self.what_to_do,
            "checks": [check.as_json() for check in self.checks],
            "failed_checks": [check.as_json() for check in self.failed_checks],
        }


class _NotFit(Exception):
    """An image that was brought onto the board and did not do."""

    def __init__(self, why: str, checks: list[Check] | None = None) -> None:
        super().__init__(why)
        self.checks = checks or []


class FirmwareUpdate:
    """Updates of one board.

    Parameters
    ----------
    store
        Of the board.
    hands
        Do it.
    wait_s
        How long a board may take to answer after it was programmed.
    tell
        Called with a line for people, as each step begins.
    """

    def __init__(
        self,
        store: FirmwareStore,
        hands: BoardHands,
        *,
        wait_s: float = 20.0,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._store = store
        self._hands = hands
        self._wait_s = wait_s
        self._tell = tell

    # ---------------------------------------------------------------------------- what is asked

    def install(
        self,
        image: FirmwareImage,
        *,
        previous: FirmwareImage | None = None,
        no_return: bool = False,
    ) -> Verdict:
        """Bring an image onto the board, or leave it with the one before.

        Parameters
        ----------
        previous
            What is on the board now, where the store does not know it.
        no_return
            Begin though there is nothing to return to.

        Raises
        ------
        UpdateRefused
            The image is for another board, an update is open, or what is on the board is not
            known. Nothing was touched.
        OSError
            Of the store.
        """
        standing = self._store.standing()
        if standing.open:
            raise UpdateRefused(
                f"update {standing.update} is open (its last step: {standing.step}): go on with "
                "--resume, or return with --back"
            )
        identity = self._hands.identity(min(self._wait_s, 5.0))
        if identity is None:
            raise UpdateRefused(
                "nobody answers on the board's port: an update begins with a board that works "
                "(bellrelay board flash brings an image onto one that does not)"
            )
        if image.geometry.board != identity.geometry.board:
            raise UpdateRefused(
                f"the image is for {image.geometry.board}, the board is "
                f"{identity.geometry.board}: nothing was touched"
            )
        before = self._before(standing, identity, previous, no_return)
        if before is not None and before.sha256 == image.sha256:
            return Verdict(standing.update, Verdicts.ALREADY, image.as_json(), before.as_json())
        kept = self._store.keep(image)
        number = standing.update + 1
        self._store.write(
            Step.BEGUN,
            number,
            image=kept.id,
            previous=None if before is None else before.id,
            about=kept.as_json(),
        )
        return self._there(number, kept, before, flashed=False)

    def resume(self) -> Verdict:
        """Go on with an update that was stopped. UpdateRefused: none is open."""
        standing = self._open()
        image, previous = self._images(standing)
        flashed = standing.step in (Step.FLASHED, Step.IDENTIFIED)
        self._tell(f"update {standing.update} goes on after: {standing.step}")
        if standing.returning:
            return self._back(standing.update, image, previous, "", [], flashed=flashed)
        return self._there(standing.update, image, previous, flashed=flashed)

    def back(self) -> Verdict:
        """Return to the image before: of an open update, or of the last one.

        Raises
        ------
        UpdateRefused
            There is none to return to.
        """
        standing = self._store.standing()
        if not standing.open and standing.step is not Step.INSTALLED:
            raise UpdateRefused("no update has brought an image here that one could return from")
        if standing.previous is None:
            raise UpdateRefused("that update was begun with --no-return: no image is kept")
        image, previous = self._images(standing)
        if not standing.open:
            # Of its own, so that the journal says who was on the board when.
            number = standing.update + 1
            self._store.write(
                Step.BEGUN,
                number,
                image=image.id,
                previous=standing.previous,
                returning=True,
                why=_ASKED,
            )
            return self._back(number, image, previous, "", [], flashed=False)
        return self._back(standing.update, image, previous, _ASKED, [], flashed=False)

    # --------------------------------------------------------------------------------- the ways

    def _there(
        self,
        number: int,
        image: FirmwareImage,
        previous: FirmwareImage | None,
        *,
        flashed: bool,
    ) -> Verdict:
        try:
            checks = self._bring(number, image, flashed=flashed)
        except _NotFit as error:
            return self._back(number, image, previous, str(error), error.checks, flashed=False)
        self._store.write(Step.INSTALLED, number, image=image.id, checks=_plain(checks))
        self._tell(f"installed: {image.line()}")
        return Verdict(
            number,
            Verdicts.INSTALLED,
            image.as_json(),
            None if previous is None else previous.as_json(),
            checks=checks,
        )

    def _back(
        self,
        number: int,
        image: FirmwareImage,
        previous: FirmwareImage | None,
        why: str,
        failed: list[Check],
        *,
        flashed: bool,
    ) -> Verdict:
        if why:
            self._tell(f"not kept: {why}")
        if previous is None:
            return self._failed(number, image, previous, why, failed, "")
        if not flashed and why:
            self._store.write(
                Step.RETURNING, number, image=previous.id, why=why, checks=_plain(failed)
            )
        why = why or self._why(number)
        try:
            checks = self._bring(number, previous, flashed=flashed)
        except _NotFit as error:
            return self._failed(
                number, image, previous, why, failed + error.checks, f"and on the way back: {error}"
            )
        self._store.write(Step.RETURNED, number, image=previous.id, checks=_plain(checks))
        self._tell(f"returned: {previous.line()}")
        return Verdict(
            number,
            Verdicts.RETURNED,
            image.as_json(),
            previous.as_json(),
            why=why,
            checks=checks,
            failed_checks=failed,
        )

    def _failed(
        self,
        number: int,
        image: FirmwareImage,
        previous: FirmwareImage | None,
        why: str,
        failed: list[Check],
        back: str,
    ) -> Verdict:
        board = image.geometry.board
        if previous is None:
            todo = (
                "no image to return to was kept (--no-return). Power-cycle the board, see that it "
                "is plugged in and alone, and try again with: bellrelay board update --resume. "
                f"Or bring a build that works onto it: bellrelay board flash {board} "
                "--bitstream FILE.bit"
            )
        else:
            todo = (
                "the board may be without a working image. Power-cycle it, see that it is plugged "
                "in and alone, then: bellrelay board update --resume, which brings back "
                f"{previous.bitstream}. If it still does not answer, bring that file onto it by "
                f"hand: bellrelay board flash {board} --bitstream {previous.bitstream}. If that "
                "fails too, the board or its programmer is broken: change it"
            )
        reason = "; ".join(part for part in (why, back) if part)
        self._store.write(Step.FAILED, number, why=reason, what_to_do=todo, checks=_plain(failed))
        self._tell(f"failed: {reason}")
        return Verdict(
            number,
            Verdicts.FAILED,
            image.as_json(),
            None if previous is None else previous.as_json(),
            why=reason,
            what_to_do=todo,
            failed_checks=failed,
        )

    def _bring(self, number: int, image: FirmwareImage, *, flashed: bool) -> list[Check]:
        """Flash, wait, compare, look at its health. _NotFit: it did not come out so."""
        if not flashed:
            self._store.write(Step.FLASHING, number, image=image.id)
            self._tell(f"flashing {image.line()}")
            try:
                image.check_file()
                self._hands.flash(image)
            except (FlashFailed, ImageUnusable) as error:
                raise _NotFit(str(error)) from None
            self._store.write(Step.FLASHED, number, image=image.id)
        self._tell("waiting for the board")
        try:
            identity = self._hands.identity(self._wait_s, image)
        except UNREACHABLE as error:
            raise _NotFit(str(error)) from None
        if identity is None:
            raise _NotFit(f"no board has answered within {self._wait_s:g} s")
        differences = image.differences(identity)
        if differences:
            raise _NotFit(f"the board that answers is another: {'; '.join(differences)}")
        self._store.write(Step.IDENTIFIED, number, image=image.id)
        self._tell("looking at its health")
        checks = self._hands.health(image)
        sick = [check for check in checks if not check.passed]
        if sick:
            what = "; ".join(f"{check.name}: {check.detail}" for check in sick)
            raise _NotFit(f"the board is not well: {what}", checks)
        return checks

    # ---------------------------------------------------------------------------- what was there

    def _before(
        self,
        standing: Standing,
        identity: Identity,
        previous: FirmwareImage | None,
        no_return: bool,
    ) -> FirmwareImage | None:
        """The image to return to, kept."""
        if previous is not None:
            differences = previous.differences(identity)
            if differences:
                raise UpdateRefused(
                    f"{previous.bitstream} is not what is on the board: {'; '.join(differences)}"
                )
            kept = self._store.keep(previous)
            if standing.installed != kept.id:
                self._store.write(
                    Step.ADOPTED, standing.update, image=kept.id, about=kept.as_json()
                )
            return kept
        if standing.installed is not None:
            known = self._store.image(standing.installed)
            differences = known.differences(identity)
            if not differences:
                return known
            why = f"the board is not as the last update left it ({'; '.join(differences)})"
        else:
            why = "which image is on the board is not known here"
        if no_return:
            return None
        raise UpdateRefused(
            f"{why}, so that there is none to return to: name the build that is on it with "
            "--previous IMAGE, or do without with --no-return"
        )

    def _open(self) -> Standing:
        standing = self._store.standing()
        if not standing.open:
            raise UpdateRefused("no update is open: there is nothing to go on with")
        return standing

    def _images(self, standing: Standing) -> tuple[FirmwareImage, FirmwareImage | None]:
        assert standing.image is not None
        previous = standing.previous
        return (
            self._store.image(standing.image),
            None if previous is None else self._store.image(previous),
        )

    def _why(self, number: int) -> str:
        """Why an update is on its way back, from the journal."""
        for line in reversed(self._store.lines):
            begun = line["step"] in (Step.RETURNING, Step.BEGUN)
            if line["update"] == number and begun and "why" in line:
                return str(line["why"])
        return ""


def _plain(checks: list[Check]) -> list[dict[str, Any]]:
    return [check.as_json() for check in checks]
