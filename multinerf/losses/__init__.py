"""L3: data losses and regularisers, each a plug-in by name."""
