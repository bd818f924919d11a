"""An even sample of a stream whose length nobody knows."""

import heapq
import math

import numpy as np

_STEP_BYTES = 2 << 30  # of the images for which there is made room at a time


class EvenSample:
    """At most so many of a stream of images, spread evenly over it.

    The n-th one is kept before others whose number, its bits in reverse order, is
    larger: 0, the half, the quarters, the eighths, ... Images with a label come first.

    Parameters
    ----------
    most : int
    shape : tuple of int
        Of one image.
    dtype : numpy dtype, default=numpy.float32

    Attributes
    ----------
    n_seen : int
        How many came.
    """

    def __init__(self, most, shape, dtype=np.float32):
        self._most, self.shape = most, shape
        image_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        self._step = min(most, max(1, _STEP_BYTES // image_bytes))
        # of which the system gives no page before it is written to
        self._images = np.empty((self._step, *shape), dtype)
        self._notes = []
        self._heap = []  # (how much it is wanted, its place)
        self.n_seen = 0

    @property
    def n(self):
        """How many there are."""
        return len(self._heap)

    @property
    def images(self):
        """The images that are kept, in the order of `notes`."""
        return self._images[: self.n]

    @property
    def notes(self):
        """What `add` was given with each of them."""
        return self._notes

    def add(self, image, note):
        """Keep an image and a note, maybe instead of others.

        A note is a tuple that begins with the label of the image, None without one.
        """
        is_labelled = note[0] is not None
        wanted = (is_labelled, -int(f"{self.n_seen:040b}"[::-1], 2))
        self.n_seen += 1
        if self.n < self._most:
            place = self.n
            self._make_room()
            heapq.heappush(self._heap, (wanted, place))
        elif wanted > self._heap[0][0]:
            place = self._heap[0][1]
            heapq.heapreplace(self._heap, (wanted, place))
        else:
            return
        self._images[place], self._notes[place] = image, note

    def _make_room(self):
        """Have a place for one more."""
        self._notes.append(None)
        if self.n == len(self._images):
            n_places = min(self._most, self.n + self._step)
            self._images.resize((n_places, *self._images.shape[1:]), refcheck=False)

    def arrays(self):
        """Return images, labels, times and sites, of notes of the last three."""
        labels, times, sites = zip(*self._notes, strict=True)
        found = np.empty(self.n, object)
        found[:] = labels
        times = np.array(times, "datetime64[ns]")
        return self._images[: self.n], found, times, np.array(sites)
