-- What was asked and paid, by role and model.
SELECT role, model, count(*) AS calls, sum(input_tokens)::BIGINT AS tokens_in, sum(cached_tokens)::BIGINT AS of_them_cached,
       sum(output_tokens)::BIGINT AS tokens_out, round(sum(cost_usd), 4) AS usd,
       count(*) FILTER (cost_usd IS NULL) AS without_price, count(*) FILTER (estimated) AS guessed
FROM model_calls
GROUP BY ALL
ORDER BY usd DESC NULLS LAST, role, model
