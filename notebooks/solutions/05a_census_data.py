# %% Exercise 05.1
answer = train.groupby("workclass", dropna=False)["income"].mean()

# %% Exercise 05.2
step = pipeline["prepare"].named_transformers_["numbers"].scale_[1]
answer = np.exp(weights["numbers__hours_per_week"] / step)

# %% Exercise 05.3
MORE = [*CATEGORIES, "occupation"]
more_columns = ColumnTransformer(
    [("numbers", StandardScaler(), NUMBERS), ("categories", one_hot, MORE)]
)
answer = Pipeline([("prepare", more_columns), ("classify", LogisticRegression(max_iter=1000))])
answer.fit(train[NUMBERS + MORE], train["income"])

# %% Exercise 05.4
# The change is in 05.4.diff: add the lines with +, remove those with -; the others show the place.
