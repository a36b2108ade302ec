"""The study: space -> design -> searcher and scheduler -> trials on Ray Tune -> run folder."""
