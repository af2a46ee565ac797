-- Which model really answered, and when: an alias that moved shows here.
SELECT model, answered, role, count(*) AS calls, min(created_at) AS first, max(created_at) AS last
FROM model_calls
WHERE status = 'ok'
GROUP BY ALL
ORDER BY model, first
