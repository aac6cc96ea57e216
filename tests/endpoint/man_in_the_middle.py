"""A man in the middle who is inside TLS: he reads every frame, and changes what he likes.

He keeps the channel's own counters in order, so that only tags stand in his way.
"""

from dataclasses import dataclass, field, replace

from bellrelay.wire.peer_messages import Hello, Kind, PeerFrame

_OTHER = {"alice": "bob", "bob": "alice"}


@dataclass
class ManInTheMiddle:
    """To be a network's ``tamper``.

    deed : called with (speaker, frame); returns the frames that are passed on, or None for the one
    that came. heard : every frame that came, (speaker, frame).
    """

    deed: object = None
    heard: list = field(default_factory=list)

    def __post_init__(self):
        self._session = {"alice": None, "bob": None}
        self._begin()

    def _begin(self):
        self._came, self._went = dict.fromkeys(_OTHER, 0), dict.fromkeys(_OTHER, 0)

    def __call__(self, speaker, frame):
        if frame.kind is Kind.HELLO:
            hello = Hello.parse(frame.body)
            if self._session[speaker] != hello.session:
                self._session[speaker] = hello.session
                self._begin()
            hello = replace(hello, expects=self._came[_OTHER[speaker]])
            return [replace(frame, body=hello.encode()).encode()]
        if frame.kind is Kind.ALIVE:
            return [self._counted(speaker, frame).encode()]
        self._came[speaker] += 1
        self.heard.append((speaker, frame))
        passed = self.deed(speaker, frame) if self.deed else None
        return [self._next(speaker, each) for each in ([frame] if passed is None else passed)]

    def _counted(self, speaker, frame):
        return replace(frame, acknowledged=self._came[_OTHER[speaker]])

    def _next(self, speaker, frame):
        frame = replace(self._counted(speaker, frame), sequence=self._went[speaker])
        self._went[speaker] += 1
        return frame.encode()


def target_of(speaker, frame):
    """What a deed is aimed at."""
    return speaker, frame.exchange, frame.kind


class Once:
    """Does a deed to the first message that it is aimed at, from block ``index`` on.

    deed : called with the frame and this object; returns frames. `earlier`, `receivers` : of the
    same exchange and kind, what the speaker said of an earlier block, and what the receiver said
    until then. `put` : which of them was put in the message's place.
    """

    def __init__(self, target, deed, index=0):
        self.target, self._do, self._index = target, deed, index
        self.done = False
        self.held = None
        self.earlier = self.receivers = self.put = None

    def instead(self, frame, other):
        """The other's body in this frame's place; the frame as it was where there is no other."""
        self.put = other
        return None if other is None else [replace(frame, body=other.body)]

    def __call__(self, speaker, frame):
        if self.held is not None and speaker == self.target[0]:
            held, self.held = self.held, None
            return [frame, held]
        if target_of(speaker, frame) == self.target and not self.done:
            if frame.index >= self._index:
                self.done = True
                return self._do(frame, self)
            self.earlier = frame
        if (_OTHER[speaker], frame.exchange, frame.kind) == self.target:
            self.receivers = frame
        return None


def flip_first(frame, _):
    """The first bit."""
    return [replace(frame, body=bytes([frame.body[0] ^ 1]) + frame.body[1:])]


def flip_last(frame, _):
    """The last bit."""
    return [replace(frame, body=frame.body[:-1] + bytes([frame.body[-1] ^ 0x80]))]


def truncate(frame, _):
    """A byte less."""
    return [replace(frame, body=frame.body[:-1])]


def extend(frame, _):
    """A byte more."""
    return [replace(frame, body=frame.body + b"\0")]


def drop(_frame, _):
    """Nothing comes."""
    return []


def repeat(frame, _):
    """It comes twice."""
    return [frame, frame]


def reorder(frame, once):
    """After the next of the same speaker."""
    once.held = frame
    return []


def reflect(frame, once):
    """The receiver hears what he has said himself."""
    return once.instead(frame, once.receivers)


def splice(frame, once):
    """What the same speaker said in the same place of an earlier block."""
    return once.instead(frame, once.earlier)


def as_peer_frame(kind, exchange, block, body):
    """Something of his own."""
    return PeerFrame(kind, exchange, *block, body=body)
