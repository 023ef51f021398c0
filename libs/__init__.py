"""What is shared: the common library, and the command line that runs the house."""
