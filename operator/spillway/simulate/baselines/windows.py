"""Memory of the last seconds."""

from collections import deque


class Window:
    """Samples of the last `length_s`, the newest included."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, value: float) -> None:
        """Take a sample and forget what is too old."""
        self._samples.append((now_s, value))
        while self._samples[0][0] <= now_s - self._length_s and len(self._samples) > 1:
            self._samples.popleft()

    @property
    def values(self) -> list[float]:
        """Return what is in it; at least one value once there was a sample."""
        return [value for _, value in self._samples]

    @property
    def mean(self) -> float:
        """Return the mean of the samples."""
        return sum(self.values) / len(self._samples)
