"""Image classifiers, one file per family; the yamls in conf/student and conf/teacher name them.

A model is an ``nn.Module`` from images (B, channels, H, W) to logits (B, C), built with
``in_shape`` and ``num_classes``: ``mlp.MLP``, ``cnn.CNN``, ``convnet4.ConvNet4``,
``cifar_resnet.ResNet``, ``bottleneck_resnet.BottleneckResNet``, ``wide_resnet.WideResNet``,
``vgg.VGG``, ``mobilenetv2.MobileNetV2``, ``shufflenetv1.ShuffleNetV1``,
``shufflenetv2.ShuffleNetV2``, ``tutorial.DeepNN`` and ``LightNN``, ``imagenette.PlainNet`` and
``ResidualNet``, ``vit.VisionTransformer``; by name in their library,
``torchvision_model.Torchvision`` and ``timm_model.Timm``. Those that are an ``nn.Sequential`` run
their parts in the order in which ``__init__`` assigns them.
"""
