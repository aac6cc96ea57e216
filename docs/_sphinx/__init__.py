"""What the site needs of Sphinx beyond Sphinx: formulae without a network, packages as pages."""
