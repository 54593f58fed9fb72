"""One file for each family of networks; what is registered in any of them is known by name."""
