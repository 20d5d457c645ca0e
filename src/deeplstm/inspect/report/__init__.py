"""One page about a trained network: `collect.collect` makes its data from a model and what it read, `page.render` HTML of that."""
