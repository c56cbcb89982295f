"""Who is who: accounts and containers, followed as they change."""
