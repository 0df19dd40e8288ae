"""What can be decoded of a video: one that is cut off or has damaged parts is read as far as players show it."""

from collections.abc import Iterator
from typing import Any


class Decoding:
    """A container of PyAV whose damaged packets are left out, and whose end is what cannot be read on.

    `damage`: what was found so, for a message; empty where there was nothing.
    """

    def __init__(self, container: Any) -> None:
        self._container = container
        self.damage = ""

    def demux(self, stream: Any) -> Iterator[Any]:
        """The packets, at last one without contents, at which the decoder gives what it has held back."""
        from av import Packet
        from av.error import FFmpegError

        packet = None
        try:
            for packet in self._container.demux(stream):
                yield packet
        except IndexError:  # at the end: PyAV does not know the streams that came behind the header
            return
        except FFmpegError:
            if packet is None:
                raise
            self.damage = "is damaged or cut off; it is read as far as that goes"
            last = Packet()
            last.stream = stream
            yield last

    def decode(self, stream: Any) -> Iterator[Any]:
        """The frames. Raises FFmpegError where none is whole."""
        from av.error import FFmpegError

        frames, damaged = 0, []
        for packet in self.demux(stream):
            try:
                for frame in packet.decode():
                    frames += 1
                    yield frame
            except FFmpegError as error:
                damaged.append(error)
        if damaged and not frames:
            raise damaged[0]
        if damaged:
            self.damage = f"is damaged or cut off; {len(damaged)} of its parts could not be decoded"
