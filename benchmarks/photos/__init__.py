"""What benchmarks/photos.py needs: the photographs, the rivals, and each system's own process."""
