"""What torchvision does with a picture: scale all of it, then cut out the middle."""

from spark_imgdedup.models.preprocess import INTERPOLATION


def scaled_and_cut(picture, fit):
    """The square, by two steps of Pillow."""
    picture = fit.limited(picture)
    size = fit.scaled_size(*picture.size)
    left, top = fit.corner(*size)
    scaled = picture.resize(size, INTERPOLATION[fit.interpolation])
    return scaled.crop((left, top, left + fit.size, top + fit.size))
