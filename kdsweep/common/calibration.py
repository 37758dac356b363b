"""What training and reports have in common of calibration, without torch."""

ECE_BINS = 15  # equal bins of confidence of the expected calibration error (Guo et al. 2017)
