"""From a source to batches: split, statistics, augmentation, mixing and the stream.

All of it is seeded by names, so that every epoch can be replayed.

- augment: Augment, AugmentParams
- auto_augment: RandAugment, TrivialAugment, AutoAugment
- central_view: CentralView
- color_jitter: ColorJitter
- drawn_operations: DrawnOperations, OperationBatch, operate
- image_operations: OPERATIONS, cut_out
- inspection: DatasetInspector
- mixup: BatchMixer
- normalize: pixels to the numbers that networks are given
- pixel_stats: pixel_statistics
- random_boxes: RandomResizedCrop, RandomErasing
- resampling: resized
- source_checks: whether a source of the user's returns what is read here
- split: Dataset, SplitOptions, load_dataset
- stratify: shuffled_pools, cut, cut_fraction, positions
- stream: Stream, evaluation_batches, sample_images
- strong_view: StrongView, StrongParams
- training_views: TrainingViews
"""
