"""From a finished run to a model that classifies images, without its data set and its teacher.

- preprocessing: Preprocessing, from an image of any kind to what the network is given
- images: what counts as an image: paths, bytes, Pillow, NumPy, tensors
- image_paths: images that a user names
- manifest: Manifest, the content of `classifier.json`; of_run: that of a finished run
- architecture: build_module, the network that a manifest describes
- bundle: write_bundle, read_bundle
- sources: find_bundle, load
- classifier: Classifier
- source_run: the run that a classifier belongs to
- predictions: Predictions, Prediction; prediction_formats: as text
- predict: `kdsweep predict`; scores: accuracy on folders that are named as classes
- teachers: the teacher of a classifier's network; packages: those of the extra `deploy`
- evaluation_images: the images on which a classifier and files made of it are compared
- export: `kdsweep export`; quantize: `kdsweep quantize`; bench: `kdsweep bench`
- runtimes, timing: how models are run, and timed in turns
- run_record: files and figures, kept with the run
- pyfunc: how MLflow loads a LoggedModel (its files: `tracking/mlflow/model_files`) and calls it
- registry: `kdsweep promote`; card_facts, model_card: its model card
- hub: `kdsweep push`, a repository of the Hugging Face Hub
- demo: `kdsweep demo`; comparison: what it shows of an image
"""
