"""RandAugment's operations on a whole batch, each image with a value of its own.

Pixels are those of Pillow for one image and the same value (ImageOps, ImageEnhance,
Image.transform); a whole batch is computed at once, on any device.

Shapes: images uint8 (B, channels, H, W), values float64 (B,). Of images with other than three
channels the luminance is the mean of the channels.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Operation: TypeAlias = Callable[[Tensor, Tensor], Tensor]

GREY = (125, 123, 114)  # of a cutout, the mean colour of ImageNet
LUMINANCE = (19595, 38470, 7471)  # of red, green and blue, in 1 / 65536


def identity(images: Tensor, values: Tensor) -> Tensor:
    return images


def autocontrast(images: Tensor, values: Tensor) -> Tensor:
    """Each channel stretched to 0 to 255."""
    low, high = (end(2, True).double() for end in (images.flatten(2).amin, images.flatten(2).amax))
    scale = torch.full_like(low, 255) / (high - low)  # 255 / x would be 255 times a rounded 1 / x
    stretched = (levels(images) * scale - low * scale).clamp(0, 255).byte()
    return by_level(images, torch.where(high > low, stretched, levels(images)))


def equalize(images: Tensor, values: Tensor) -> Tensor:
    """Each channel with an even histogram."""
    pixels = images.flatten(2).long()
    counts = torch.zeros(*pixels.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, pixels, torch.ones_like(pixels))
    of_brightest = counts.gather(2, pixels.amax(2, True))
    step = (pixels.shape[2] - of_brightest) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255).byte()
    even = table.gather(2, pixels).view_as(images)
    return torch.where(step.unsqueeze(3) > 0, even, images)


def posterize(images: Tensor, values: Tensor) -> Tensor:
    """The upper bits alone: the whole part of the value, at least one."""
    bits = values.long().clamp(min=1)
    return images & per_image(256 - 2 ** (8 - bits)).byte()


def solarize(images: Tensor, values: Tensor) -> Tensor:
    """Pixels from the value on are inverted."""
    return images ^ 255 * (images >= per_image(values)).byte()  # torch.where takes thrice as long


def invert(images: Tensor, values: Tensor) -> Tensor:
    return 255 - images


def brightness(images: Tensor, values: Tensor) -> Tensor:
    pixels = levels(images)
    return by_level(images, blend(torch.zeros_like(pixels), pixels, values.view(-1, 1, 1)))


def color(images: Tensor, values: Tensor) -> Tensor:
    return blend(luminance(images).expand_as(images), images, per_image(values))


def contrast(images: Tensor, values: Tensor) -> Tensor:
    mean = (luminance(images).double().mean((1, 2, 3)) + 0.5).byte()
    return by_level(images, blend(mean.view(-1, 1, 1), levels(images), values.view(-1, 1, 1)))


def hue(images: Tensor, values: Tensor) -> Tensor:
    """By parts of the circle of colours, -0.5 to 0.5, in 1 / 255; grey images stay as they are.

    The colours are those of Pillow's mode HSV, of 8 bits.
    """
    if images.shape[1] != 3:
        return images
    angle, saturation, value = _to_hsv(images)
    return _from_hsv((angle + per_image((values * 255).int())).remainder(256), saturation, value)


def sharpness(images: Tensor, values: Tensor) -> Tensor:
    """Blended with the mean of the 3 x 3 pixels around each, itself five times; no edge changes."""
    pixels, smooth = images.float(), images.clone()
    if min(images.shape[2:]) > 2:
        rows = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
        sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * pixels[:, :, 1:-1, 1:-1]
        smooth[:, :, 1:-1, 1:-1] = (sums / 13 + 0.5).byte()  # never within 1 / 26 of a whole number
    return blend(smooth, images, per_image(values))


def rotate(images: Tensor, values: Tensor) -> Tensor:
    """By degrees, counter-clockwise, around the middle."""
    height, width = images.shape[-2:]
    angles = values.deg2rad()
    cos, sin = angles.cos(), angles.sin()
    x, y = width / 2, height / 2
    return affine(images, cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def shear_x(images: Tensor, values: Tensor) -> Tensor:
    return affine(images, 1.0, values, 0.0, 0.0, 1.0, 0.0)


def shear_y(images: Tensor, values: Tensor) -> Tensor:
    return affine(images, 1.0, 0.0, 0.0, values, 1.0, 0.0)


def translate_x(images: Tensor, values: Tensor) -> Tensor:
    """By parts of the width."""
    return affine(images, 1.0, 0.0, values * images.shape[3], 0.0, 1.0, 0.0)


def translate_y(images: Tensor, values: Tensor) -> Tensor:
    """By parts of the height."""
    return affine(images, 1.0, 0.0, 0.0, 0.0, 1.0, values * images.shape[2])


# The operations with the ends of the ranges of their values.
OPERATIONS: tuple[tuple[Operation, float, float], ...] = (
    (autocontrast, 0.0, 1.0),
    (brightness, 0.05, 0.95),
    (color, 0.05, 0.95),
    (contrast, 0.05, 0.95),
    (equalize, 0.0, 1.0),
    (identity, 0.0, 1.0),
    (posterize, 4.0, 8.0),
    (rotate, -30.0, 30.0),
    (sharpness, 0.05, 0.95),
    (shear_x, -0.3, 0.3),
    (shear_y, -0.3, 0.3),
    (solarize, 0.0, 256.0),
    (translate_x, -0.3, 0.3),
    (translate_y, -0.3, 0.3),
)


def cut_out(images: Tensor, size: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """A grey square of ``size`` pixels around (``column``, ``row``), each (B,), cut at the edges.

    As Pillow draws a rectangle: with its last row and column, so that it has one more of them.
    """
    channels, height, width = images.shape[1:]
    grey = GREY if channels == 3 else [GREY[1]] * channels
    # One by one on the device: a tensor of them would be moved there in every step.
    fill = torch.stack([images.new_full((1, 1), value) for value in grey])
    inside = _span(height, row, size).unsqueeze(2) & _span(width, column, size).unsqueeze(1)
    return torch.where(inside.unsqueeze(1), fill, images)


def _span(length: int, middle: Tensor, size: Tensor) -> Tensor:
    """Which of ``length`` positions are inside: (B, length) bool."""
    first = (middle - size / 2).clamp(min=0).floor()
    last = (first + size).clamp(max=length).floor()
    position = torch.arange(length, device=middle.device)
    inside = (position >= first.unsqueeze(1)) & (position <= last.unsqueeze(1))
    return inside & (size > 0).unsqueeze(1)


def levels(images: Tensor) -> Tensor:
    """All values of a pixel, 0 to 255: uint8 (1, 1, 256)."""
    return torch.arange(256, dtype=torch.uint8, device=images.device).view(1, 1, -1)


def by_level(images: Tensor, table: Tensor) -> Tensor:
    """Pixels by a table of what their values become, uint8 (B, channels or 1, 256).

    256 values are computed for each channel in place of one for each pixel.
    """
    pixels = images.flatten(2).long()
    return table.expand(*pixels.shape[:2], -1).gather(2, pixels).view_as(images)


def per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def luminance(images: Tensor) -> Tensor:
    """uint8 (B, 1, H, W)."""
    if images.shape[1] != 3:
        return (images.float().mean(1, True) + 0.5).byte()
    red, green, blue = (w * images[:, i : i + 1].int() for i, w in enumerate(LUMINANCE))
    return ((red + green + blue + 2**15) >> 16).byte()


def blend(degenerate: Tensor, images: Tensor, values: Tensor) -> Tensor:
    """From degenerate images (0) to the images (1), or beyond: float32, as Pillow, rounded down."""
    start = degenerate.float()
    return (start + values.float() * (images.float() - start)).clamp_(0, 255).byte()


def _to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value as Pillow rounds them: int (B, 1, H, W), 0 to 255 each."""
    red, green, blue = images.split(1, dim=1)
    largest, smallest = images.amax(1, True), images.amin(1, True)
    spread = (largest.int() - smallest.int()).float()
    divisor = spread.clamp(min=1)
    saturation = spread / largest.clamp(min=1)
    from_red, from_green, from_blue = (
        ((largest.int() - channel.int()).float() / divisor).double()
        for channel in (red, green, blue)
    )
    sixths = torch.where(
        red == largest,
        from_blue - from_green,
        torch.where(green == largest, 2 + from_red - from_blue, 4 + from_green - from_red),
    )
    angle = sixths.float().double() / 6 + 1
    angle = ((angle - angle.floor()).float().double() * 255).int()
    angle = torch.where(spread > 0, angle, 0)
    return angle, (saturation.double() * 255).int(), largest.int()


def _from_hsv(angle: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of `_to_hsv` with Pillow's types and rounding: uint8 (B, 3, H, W)."""
    sixths, full = angle.double() * 6 / 255, value.double()
    sector = sixths.floor()
    rest, part = (sixths - sector).float(), (saturation.double() / 255).float()
    shares = part.double(), (part * rest).double(), part.double() * (1 - rest.double())
    low, falling, rising = ((full * (1 - share) + 0.5).byte() for share in shares)
    full = value.byte()
    colours = (  # red, green and blue in each sixth of the circle
        (full, rising, low),
        (falling, full, low),
        (low, full, rising),
        (low, falling, full),
        (rising, low, full),
        (full, low, falling),
    )
    pixels, *others = (torch.cat(channels, 1) for channels in colours)
    for number, other in enumerate(others, start=1):  # the seventh sixth is the first one
        pixels = torch.where(sector == number, other, pixels)
    return pixels


def affine(images: Tensor, *matrix: Tensor | float) -> Tensor:
    """The pixel at (a x + b y + c, d x + e y + f) of the matrix a to f; black beyond the edges.

    The nearest one, with coordinates in 1 / 65536 pixel, as Pillow computes them.
    """
    height, width = images.shape[-2:]
    middle = torch.zeros(len(images), dtype=torch.float64, device=images.device)
    a, b, c, d, e, f = (middle + value for value in matrix)
    x = torch.arange(width, device=images.device).view(1, 1, -1)
    y = torch.arange(height, device=images.device).view(1, -1, 1)
    column = (_fixed(c + a / 2 + b / 2) + x * _fixed(a) + y * _fixed(b)) >> 16
    row = (_fixed(f + d / 2 + e / 2) + x * _fixed(d) + y * _fixed(e)) >> 16
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    index = place.unsqueeze(1).expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, index).view_as(images)
    return moved * inside.unsqueeze(1)


def _fixed(values: Tensor) -> Tensor:
    return (values * 65536 + 0.5).floor().long().view(-1, 1, 1)
