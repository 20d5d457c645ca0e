"""One page about a trained network: `collect.collect` makes its data, `page.render` makes HTML of that."""
