"""L5: the flat `Config`, its split into views, and everything gin."""
