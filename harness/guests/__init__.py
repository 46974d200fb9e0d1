"""Running machines that take a payload and return what it wrote."""
