# %% Exercise 06.1
answer = (residual_of_trees.abs() > 100_000).mean()

# %% Exercise 06.2
lower, upper = fit_quantile(0.1, fitting), fit_quantile(0.9, fitting)
under = lower.predict(kept[FEATURES]) - kept["price"]
over = kept["price"] - upper.predict(kept[FEATURES])
wider = np.maximum(under, over).quantile(0.8)
answer = pd.DataFrame(
    {
        "price": test["price"],
        "low": lower.predict(test[FEATURES]) - wider,
        "high": upper.predict(test[FEATURES]) + wider,
    }
)

# %% Exercise 06.3
for name, income in {"low": 2, "middle": 4, "high": 8}.items():
    body = {"name": name, "district": district | {"median_income": income}}
    requests.post(f"{url}/api/v1/saved", json=body, headers=headers, timeout=10)

answer = requests.get(f"{url}/api/v1/saved", headers=headers, timeout=10).json()

# %% Exercise 06.4
# The change is in 06.4.diff: add the lines with +, remove those with -; the others show the place.
