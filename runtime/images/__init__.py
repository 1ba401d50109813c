"""Container images: their Dockerfiles, and the code that builds them."""
