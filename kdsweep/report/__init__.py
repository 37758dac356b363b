"""What a sweep's results say, and how sure that is."""
