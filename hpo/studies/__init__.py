"""Studies that come with the installation; each file is a commented manual."""
