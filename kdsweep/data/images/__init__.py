"""Encoded images: finding, decoding and, if they are too large for memory, streaming them.

The sources of images in files or tables use it; its rules are in docs/datasets.md.

- content: Part, content_digest
- file_digests: the sha256 of unchanged files, kept between commands
- decoded: load_decoded, decode_all
- decoding: ImageDecoder
- download: explain_failed_download, warn_if_incomplete
- encoded: EncodedImages, ImageFormat, UnreadableImage, decode, read_header
- entries, class_folders, listings: the search for images in folders
- files: ImageFiles
- formats: image_formats, image_endings
- hf_table: TableImages
- kept: KeptImages
- label_table, layout: which files are images of which class and part
- lazy: StoredImages
- pixels: to_eight_bits, upright_size
- reader_processes: ReaderProcesses
"""
