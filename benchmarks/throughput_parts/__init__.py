"""What `benchmarks/throughput.py` is made of: four ways to run the same trials, their tables."""
