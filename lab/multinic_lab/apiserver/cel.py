def check(obj, old, schema):  # replaced next
    return []
