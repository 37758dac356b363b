"""How fast a teacher or cohort is trained, and how long the rest takes."""

from kdsweep.common.pacing import Clock


class Pace:
    """Measures the epochs of one teacher or cohort; nothing waits for the device.

    Args:
        epochs: to the end of the training, from 0.
    """

    def __init__(self, epochs: int, clock: Clock) -> None:
        self.epochs, self._clock = epochs, clock
        self.done = 0  # whole epochs
        self.in_epoch = False
        self._first: int | None = None  # epoch of this process; later than 0 if resumed
        self._began = self._epoch_began = self._last_step = 0.0
        self._images = self._of_images = 0

    def begin_epoch(self, epoch: int, images: int) -> None:
        """The epoch of this number, from 0, begins; it has so many images."""
        now = self._clock()
        if self._first is None or epoch < self.done:  # the second half of a cohort that was split
            self._first, self._began = epoch, now
        self.done, self.in_epoch = epoch, True
        self._epoch_began = self._last_step = now
        self._images, self._of_images = 0, images

    def step(self, images: int) -> None:
        """A batch of so many images has been trained on."""
        self._images += images
        self._last_step = self._clock()

    def end_epoch(self, done: int) -> None:
        """So many epochs are done, those of earlier processes included."""
        self.done, self.in_epoch = done, False

    @property
    def fraction_of_epoch(self) -> float:
        """How much of the current epoch is trained, in [0, 1]; 0 between epochs."""
        return self._images / max(self._of_images, 1) if self.in_epoch else 0.0

    @property
    def seconds_of_epoch_left(self) -> float | None:
        """Of training, without evaluation; None between epochs, and before the first step."""
        rate = self.images_per_second if self.in_epoch else None
        return None if rate is None else (self._of_images - self._images) / rate

    @property
    def images_per_second(self) -> float | None:
        """Of training in the latest epoch, without its evaluation; None before its first step."""
        seconds = self._last_step - self._epoch_began
        return self._images / seconds if seconds > 0 else None

    @property
    def fraction(self) -> float:
        """How much of all epochs is trained, in [0, 1]."""
        return min((self.done + self.fraction_of_epoch) / max(self.epochs, 1), 1.0)

    @property
    def trained_fraction(self) -> float:
        """How much of all epochs this process has trained, in [0, 1]."""
        return max(self.fraction - (self._first or 0) / max(self.epochs, 1), 0.0)

    @property
    def seconds(self) -> float:
        """Since the first epoch of this process began, evaluation included."""
        return 0.0 if self._first is None else self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """To the end of the last epoch; None before the first step."""
        trained = self.trained_fraction
        return self.seconds / trained * (1 - self.fraction) if trained > 0 else None
