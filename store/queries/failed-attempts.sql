-- Attempts that failed, by kind, whether or not a later one went well.
SELECT model, attempt->>'kind' AS kind, count(*) AS attempts, count(DISTINCT call_id) AS calls,
       any_value(attempt->>'detail') AS example
FROM (SELECT model, call_id, unnest(from_json(failed_attempts, '["JSON"]')) AS attempt FROM model_calls)
GROUP BY ALL
ORDER BY attempts DESC
