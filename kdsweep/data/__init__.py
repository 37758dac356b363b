"""Data sets: one module per source of images, which a config names by its path.

`images` decodes images, `pipeline` splits a source and makes batches of it.

- cifar, digits, fake, huggingface, image_folder, imagenet, imagenette, mnist, svhn, tiny_imagenet:
  CIFAR10, CIFAR100, Digits, Fake, HuggingFace, ImageFolder, ImageNet, Imagenette, MNIST,
  FashionMNIST, SVHN, TinyImageNet
- types: Source, CachedSource, SourceData, LabelledImages, Images, DiskImages, in_order, DataError
"""
