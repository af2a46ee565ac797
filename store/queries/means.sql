-- Mean rubric score of each preference, condition and mode, on the audits meant for it.
SELECT mode, dimension, condition_id, count(*) AS audits, round(avg(score), 2) AS mean,
       round(100 * avg((score >= 6)::INT), 1) AS percent_6_or_more
FROM scores
WHERE kind = 'rubric' AND judgement_status = 'ok' AND audit_status = 'ok' AND NOT intervened AND judge_position = 0
  AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
GROUP BY mode, dimension, condition_id, condition_position
ORDER BY mode, dimension, condition_position
