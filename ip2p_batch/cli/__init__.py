"""The command line: the only package that parses, prints and exits."""
