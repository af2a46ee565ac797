-- Rubric scores on the audits that were meant for another preference: a control that costs nothing.
SELECT dimension, condition_id, count(*) AS audits, round(avg(score), 2) AS mean
FROM scores
WHERE kind = 'rubric' AND judgement_status = 'ok' AND audit_status = 'ok' AND judge_position = 0
  AND NOT list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
GROUP BY dimension, condition_id, condition_position
ORDER BY dimension, condition_position
