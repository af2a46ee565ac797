-- How long models took: to the first token and to the last.
SELECT model, role, count(*) AS calls, round(median(first_token_s), 2) AS first_token_p50,
       round(median(latency_s), 2) AS p50, round(quantile_cont(latency_s, 0.95), 2) AS p95, sum(retries)::BIGINT AS retries
FROM model_calls
WHERE status = 'ok' AND NOT cache_hit
GROUP BY ALL
ORDER BY p95 DESC
