"""Django's cache: two hundred entries set, read, counted, let expire and removed; no worker is needed."""

from __future__ import annotations

import django
from django.conf import settings
from jobs import COUNT, URL, is_put_off, work

settings.configure(CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": URL}})
django.setup()
WORKER: tuple[str, ...] = ()


def enqueue() -> None:
    """Every entry goes through the cache, and is done when the cache has answered as it must."""
    from django.core.cache import cache

    assert cache.get("nothing", "default") == "default"
    for number in range(COUNT):
        key = f"entry-{number}"
        cache.set(key, {"number": number}, timeout=1000)
        assert not cache.add(key, "another")
        assert cache.get(key) == {"number": number}
        cache.set(f"count-{number}", number)
        assert cache.incr(f"count-{number}", 5) == number + 5 and cache.decr(f"count-{number}") == number + 4
        if is_put_off(number):
            assert cache.touch(key, 0) and cache.get(key) is None
        for _ in range(2):
            try:
                work(number)
            except Exception:
                continue
            break
    keys = [f"entry-{number}" for number in range(COUNT)]
    assert len(cache.get_many(keys)) == sum(not is_put_off(number) for number in range(COUNT))
    assert cache.get_or_set("made", lambda: 7) == 7 and cache.has_key("made")
    cache.set_many({"a": 1, "b": 2}, timeout=100)
    cache.delete_many(["a", "b"])
    assert cache.get_many(["a", "b"]) == {}
    cache.set("versioned", 1, version=2)
    assert cache.get("versioned") is None and cache.incr_version("versioned", version=2) == 3
