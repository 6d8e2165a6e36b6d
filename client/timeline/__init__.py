"""What happened in a run, over time: `model` is the data, `build` makes it from histories, `scale`,
`merging`, `svg` and `text` draw it. Only `reading` does I/O."""
