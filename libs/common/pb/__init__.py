"""Made from ``proto/`` by ``make proto``, and never edited."""
