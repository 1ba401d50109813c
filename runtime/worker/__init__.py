"""What runs inside each step's container. Imports the least possible: it is measured."""
