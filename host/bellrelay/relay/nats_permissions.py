"""What a broker must let a node do, and no more."""

from __future__ import annotations

from dataclasses import dataclass

from .nats_batch import subject_of

__all__ = ["ADMINISTRATOR", "Permissions", "administrator", "consumer_of", "publisher_of"]

ADMINISTRATOR = "bellrelay-admin"
"""Under what the broker answers who makes streams."""


@dataclass(frozen=True)
class Permissions:
    """Subjects that a user may publish to and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def user(self, name: str) -> str:
        """The entry of a user of this name in a broker's configuration."""

        def subjects(of: tuple[str, ...]) -> str:
            return "[" + ", ".join(f'"{subject}"' for subject in of) + "]"

        return (
            "{\n"
            f'  user: "{name}"\n'
            "  permissions: {\n"
            f"    publish: {subjects(self.publish)}\n"
            f"    subscribe: {subjects(self.subscribe)}\n"
            "  }\n"
            "}\n"
        )


def publisher_of(stream: str) -> Permissions:
    """Of the relay whose stream it is: its own subject, and the broker's acknowledgements."""
    return Permissions((subject_of(stream),), (f"_INBOX.{stream}.>",))


def consumer_of(stream: str, consumer: str) -> Permissions:
    """Of an endpoint: to read this stream, by a consumer of its own."""
    api = "$JS.API"
    return Permissions(
        (
            f"{api}.STREAM.INFO.{stream}",
            f"{api}.STREAM.MSG.GET.{stream}",
            f"{api}.CONSUMER.CREATE.{stream}.{consumer}",
            f"{api}.CONSUMER.DELETE.{stream}.{consumer}",
            f"{api}.CONSUMER.MSG.NEXT.{stream}.{consumer}",
            f"$JS.ACK.{stream}.{consumer}.>",
        ),
        (f"_INBOX.{consumer}.>",),
    )


def administrator() -> Permissions:
    """Of who makes streams: all of JetStream in the account, and nothing else."""
    return Permissions(("$JS.API.>",), (f"_INBOX.{ADMINISTRATOR}.>",))
